-- Removes the newest record and returns it, if it looks like a JSON object.
-- ARGV: seconds the token is kept; seconds the session lives after a write, 0 for ever.
-- Returns nil from an empty session, and 0 for a record that only the client can
-- judge: that one stays where it is.
local list, token, token_seconds, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local answered = redis.call('GET', token)
if answered then
  return answered
end
local record = redis.call('LINDEX', list, -1)
if not record then
  return false
end
if string.byte(record, 1) ~= 123 or string.byte(record, -1) ~= 125 then -- { and }
  return 0
end
redis.call('RPOP', list)
if ttl ~= '0' then
  redis.call('EXPIRE', list, ttl)
end
redis.call('SET', token, record, 'EX', token_seconds)
return record
