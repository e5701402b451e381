-- Stands before every other script of this folder.
-- KEYS: the session's list; the token of this write, in the same hash slot.
-- ARGV: seconds that the token is kept; seconds that the session lives after a
--       write, 0 for ever; then what the script itself documents.
-- Redis runs a script as one step, so a write and its token are there together or
-- not at all; a script that is sent again finds its token and changes nothing.
local list, token = KEYS[1], KEYS[2]
local token_seconds, ttl = tonumber(ARGV[1]), tonumber(ARGV[2])
local first_argument = 3

-- Appends ARGV[first] to the last one. Lua's unpack takes some 8,000 values at most.
local function push(first)
  for start = first, #ARGV, 4000 do
    redis.call('RPUSH', list, unpack(ARGV, start, math.min(start + 3999, #ARGV)))
  end
end

-- Ends a write: the session's life starts anew, and the token remembers the answer.
local function remember(answer)
  if ttl > 0 then
    redis.call('EXPIRE', list, ttl)
  end
  redis.call('SET', token, answer, 'EX', token_seconds)
end
