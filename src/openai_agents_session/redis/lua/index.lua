-- What every write to a user's conversation has in common: it is listed anew, in the same step.
-- KEYS: the list; the token; the hash of what is said about the conversation, which is there as
--       long as the conversation is; the index, a sorted set of the user's session ids by the
--       time of the last write.
-- ARGV: seconds the token is kept; seconds a conversation lives after a write, 0 for ever.
local list, token, about, index = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token_seconds, ttl = ARGV[1], ARGV[2]
local created_at = redis.call('HGET', about, 'created_at')

-- Nothing is undone where a later call is refused. So what `list_anew` calls is tried first,
-- on the token, which is not there: all of it does nothing.
local function try_listing()
  redis.call('ZCARD', index)
  redis.call('HSET', token, '', '')
  redis.call('UNLINK', token)
  redis.call('ZADD', token, 'XX', 0, '')
  redis.call('PEXPIRETIME', token)
  redis.call('PEXPIREAT', token, 1)
  redis.call('PERSIST', token)
end

-- Moves a conversation to the front of the index, and lets its life begin anew. Its list and
-- its hash expire in the same millisecond, the index no sooner than what is listed in it.
local function list_anew(list, about, ...)
  redis.call('HSET', about, 'updated_at', now, ...)
  local expires_at = redis.call('PEXPIRETIME', about)
  if ttl ~= '0' then
    expires_at = now_ms + ttl * 1000
    redis.call('PEXPIREAT', about, expires_at)
  end
  if expires_at >= 0 then
    redis.call('PEXPIREAT', list, expires_at)
  end
  local index_expires_at = redis.call('PEXPIRETIME', index) -- -2: it is not there, -1: never
  redis.call('ZADD', index, now, string.sub(about, #index + 2))
  if expires_at < 0 then
    redis.call('PERSIST', index)
  elseif index_expires_at == -2 or (index_expires_at >= 0 and index_expires_at < expires_at) then
    redis.call('PEXPIREAT', index, expires_at)
  end
end
