-- Stands before the script of a write that is done only while a lease is held.
-- KEYS: behind those of the write: the lease. ARGV: behind those of the write: the holder.
-- Returns -2 where the lease is not the holder's, and has changed nothing. (A write that has
-- left its token was done, while the lease was held.)
if redis.call('GET', KEYS[#KEYS]) ~= table.remove(ARGV) and redis.call('EXISTS', KEYS[2]) == 0 then
  return -2
end
