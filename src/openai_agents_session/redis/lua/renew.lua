-- Lets a lease's time begin anew, and returns 1; 0 if it is not the holder's any more.
-- KEYS: the lease. ARGV: the holder; how many milliseconds.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
