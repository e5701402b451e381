-- Puts back a record that pop.lua took and that turned out to be unreadable.
-- The token is that of the pop. It holds the record until this is done, then nothing.
-- ARGV: seconds the token is kept; seconds the session lives after a write, 0 for ever;
--       the record.
local list, token, token_seconds, ttl, record = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
if redis.call('GET', token) == record then
  redis.call('LTRIM', list, 0, -1) -- changes nothing; now a full server lets this go on
  redis.call('RPUSH', list, record)
  if ttl ~= '0' then
    redis.call('EXPIRE', list, ttl)
  end
  redis.call('SET', token, '', 'EX', token_seconds)
end
return 1
