-- Makes the write to a list one to a user's conversation: `write` is what another script does.
-- ARGV: behind those of the other script: what is said about a conversation that begins, as
--       pairs of field and value; how many of these; "begin" if this may begin one, "continue"
--       if it could, but there must be one, "change" if it can not.
-- Returns what the other script does, or -1 where the conversation had to be there and is not.
local kind = table.remove(ARGV)
local may_begin = kind ~= 'change'
local said = {}
for place = tonumber(table.remove(ARGV)), 1, -1 do
  said[place] = table.remove(ARGV)
end
-- The other script changes what its token holds if, and only if, it changes the list.
local done = redis.call('GET', token)
if not (created_at or done) then
  if kind == 'continue' then
    return -1
  end
  if may_begin then
    try_listing()
  end
  redis.call('UNLINK', list) -- what a conversation that has expired may have left
  if not may_begin then
    return write() -- which finds nothing
  end
elseif not done then
  if not may_begin then
    redis.call('LTRIM', token, 1, 0) -- as in pop.lua: a full server lets this go on
  end
  try_listing()
end
if may_begin then
  ARGV[2] = '0' -- `list_anew` sets the expiry; pop.lua asks whether there is one
end
local answer = write()
if may_begin and not done or not may_begin and redis.call('GET', token) ~= done then
  if created_at then
    list_anew(list, about)
  elseif may_begin then
    list_anew(list, about, 'created_at', now, unpack(said))
  else
    redis.call('UNLINK', list) -- a record was put back, and the conversation has ended meanwhile
  end
end
return answer
