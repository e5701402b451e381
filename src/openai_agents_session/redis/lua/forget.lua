-- Takes out of the index what has expired, and returns how many have not.
-- KEYS: the index; the hashes of the conversations.
local index, there = KEYS[1], 0
for at = 2, #KEYS do
  if redis.call('HEXISTS', KEYS[at], 'created_at') == 1 then
    there = there + 1
  else
    redis.call('ZREM', index, string.sub(KEYS[at], #index + 2))
  end
end
return there
