-- Puts the records in the place of all that the session holds.
-- ARGV: the records; none empties the session.
if redis.call('EXISTS', token) == 0 then
  local old = redis.call('LLEN', list)
  push(first_argument)
  -- Trimming, not deleting, keeps an expiry that was set by someone else.
  redis.call('LTRIM', list, old, -1)
  remember('')
end
return 1
