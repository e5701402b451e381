-- Makes the write to a list one to a user's conversation: `write` is what another script does.
-- ARGV: behind those of the other script: what is said about a conversation that begins, as
--       pairs of field and value; how many of these; '1' if this may begin one; '1' if it must
--       be there already.
-- Returns what the other script does, or -1 where the conversation had to be there and is not.
local must_be_there = table.remove(ARGV) == '1'
local may_begin = table.remove(ARGV) == '1'
local said = {}
for place = tonumber(table.remove(ARGV)), 1, -1 do
  said[place] = table.remove(ARGV)
end
-- The other script changes what its token holds if, and only if, it changes the list.
local done = redis.call('GET', token)
if not done then
  if must_be_there and not created_at then
    return -1
  end
  -- As in append.lua and in pop.lua: a full server refuses the first, and after the second it
  -- lets a script go on.
  if may_begin then
    redis.call('SET', token, '', 'XX')
  else
    redis.call('LTRIM', token, 1, 0)
  end
  try_listing()
end
if not created_at then
  redis.call('UNLINK', list) -- it has expired with what was said about it
end
local answer = write()
if redis.call('GET', token) ~= done then
  if created_at then
    list_anew(list, about)
  elseif may_begin then
    list_anew(list, about, 'created_at', now, unpack(said))
  else
    redis.call('UNLINK', list) -- a record was put back after the conversation had ended
  end
end
return answer
