-- Puts the records in the place of all that the session holds. Where there is nothing to
-- put and nothing to remove, nothing changes and no token is needed.
-- ARGV: seconds the token is kept; seconds the session lives after a write, 0 for
--       ever; the records, none of which empties the session.
local list, token, token_seconds, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local old = redis.call('LLEN', list)
if redis.call('EXISTS', token) == 1 or (old == 0 and #ARGV == 2) then
  return 1
end
-- As in append.lua. A full server lets a script go on that has called what frees.
if #ARGV == 2 then
  redis.call('UNLINK', token)
  redis.call('SET', token, '', 'EX', token_seconds)
  redis.call('UNLINK', list)
  return 1
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
return 1
