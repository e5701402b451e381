-- Appends a batch of records.
-- ARGV: seconds the token is kept; seconds the session lives after a write, 0 for
--       ever; the records, in runs that Lua's unpack can take.
local list, token, token_seconds, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
if redis.call('SET', token, '', 'EX', token_seconds, 'NX') then
  for first = 3, #ARGV, 4000 do
    local pushed = redis.pcall('RPUSH', list, unpack(ARGV, first, math.min(first + 3999, #ARGV)))
    if type(pushed) == 'table' then -- an error, of the first run: the key is not a list
      redis.call('DEL', token)
      return pushed
    end
  end
  if ttl ~= '0' then
    redis.call('EXPIRE', list, ttl)
  end
end
return 1
