-- Replaces the newest records and drops the oldest, if both are what the caller read.
-- ARGV: how many oldest, how many newest; those oldest; those newest; the new records.
-- Returns 1, or 0 when the session holds something else: then nothing changes.
if redis.call('EXISTS', token) == 1 then
  return 1
end
local oldest, newest = tonumber(ARGV[first_argument]), tonumber(ARGV[first_argument + 1])
local kept = redis.call('LLEN', list) - oldest - newest
if kept < 0 then
  return 0
end
local next_argument = first_argument + 2
local function as_read(start, count)
  if count == 0 then
    return true -- LRANGE would take the -1 that follows for the end of the list
  end
  for _, record in ipairs(redis.call('LRANGE', list, start, start + count - 1)) do
    if record ~= ARGV[next_argument] then
      return false
    end
    next_argument = next_argument + 1
  end
  return true
end
if not (as_read(0, oldest) and as_read(oldest + kept, newest)) then
  return 0
end
local expiry = redis.call('PTTL', list)
if kept > 0 then
  redis.call('LTRIM', list, oldest, oldest + kept - 1)
else
  redis.call('UNLINK', list)
end
push(next_argument)
if expiry > 0 then
  redis.call('PEXPIRE', list, expiry)
end
remember('')
return 1
