-- Puts the records in the place of all that the session holds.
-- ARGV: seconds the token is kept; seconds the session lives after a write, 0 for
--       ever; the records, none of which empties the session.
local list, token, token_seconds, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
if redis.call('EXISTS', token) == 0 then
  local old = redis.call('LLEN', list)
  -- As in append.lua. To empty a session frees memory, so a full server is to go on.
  if #ARGV == 2 then
    redis.call('LTRIM', token, 1, 0)
  end
  redis.call('SET', token, '', 'XX')
  redis.call('LTRIM', token, 1, 0)
  if ttl ~= '0' then
    redis.call('EXPIRE', token, ttl)
  end
  for first = 3, #ARGV, 4000 do
    redis.call('RPUSH', list, unpack(ARGV, first, math.min(first + 3999, #ARGV)))
  end
  -- Trimming, not deleting, keeps an expiry that something else has set.
  redis.call('LTRIM', list, old, -1)
  if ttl ~= '0' then
    redis.call('EXPIRE', list, ttl)
  end
  redis.call('SET', token, '', 'EX', token_seconds)
end
return 1
