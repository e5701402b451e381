-- Appends a batch of records.
-- ARGV: seconds the token is kept; seconds the session lives after a write, 0 for
--       ever; the records, in runs that Lua's unpack can take.
local list, token, token_seconds, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
if redis.call('EXISTS', token) == 0 then
  -- Nothing is undone where a later call is refused. So each is tried on the token first,
  -- which is not there: it does nothing. SET leads, because a full server refuses that,
  -- and no more once a script has called what writes.
  redis.call('SET', token, '', 'XX')
  if ttl ~= '0' then
    redis.call('EXPIRE', token, ttl)
  end
  for first = 3, #ARGV, 4000 do
    redis.call('RPUSH', list, unpack(ARGV, first, math.min(first + 3999, #ARGV)))
  end
  if ttl ~= '0' then
    redis.call('EXPIRE', list, ttl)
  end
  redis.call('SET', token, '', 'EX', token_seconds)
end
return 1
