-- What every write to a user's conversation has in common: it is listed anew, in the same step.
-- KEYS: the list; the token; the hash of what is said about the conversation, which is there as
--       long as the conversation is; the index, a sorted set of the user's session ids by the
--       time of the last write.
-- ARGV: seconds the token is kept; seconds a conversation lives after a write, 0 for ever.
local list, token, about, index = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token_seconds, ttl = ARGV[1], ARGV[2]
local created_at = redis.call('HGET', about, 'created_at')
local index_expires_at -- in milliseconds since 1970; -1: never, -2: there is no index

-- Nothing is undone where a later call is refused. So all that `list_anew` calls is tried first,
-- and does nothing: the token is not there yet, and no id is empty. HSET leads, because a full
-- server refuses that, and no more once a script has called what writes.
local function try_listing()
  if created_at then
    redis.call('HSET', about, 'created_at', created_at)
  else
    redis.call('HSET', token, '', '')
    redis.call('UNLINK', token)
  end
  redis.call('ZADD', index, 'XX', 0, '')
  index_expires_at = redis.call('PEXPIRETIME', index)
  redis.call('PEXPIREAT', token, 1)
  if ttl == '0' then
    redis.call('PERSIST', token)
  end
end

-- Moves a conversation to the front of the index, and lets its life begin anew. Its list and
-- its hash expire in the same millisecond, the index no sooner than what is listed in it.
local function list_anew(list, about, ...)
  redis.call('HSET', about, 'updated_at', now, ...)
  local expires_at
  if ttl ~= '0' then
    expires_at = now_ms + ttl * 1000
    redis.call('PEXPIREAT', about, expires_at)
  else
    expires_at = redis.call('PEXPIRETIME', about)
  end
  if expires_at >= 0 then
    redis.call('PEXPIREAT', list, expires_at)
  end
  index_expires_at = index_expires_at or redis.call('PEXPIRETIME', index)
  redis.call('ZADD', index, now, string.sub(about, #index + 2))
  if expires_at < 0 then
    redis.call('PERSIST', index)
  elseif index_expires_at ~= -1 and index_expires_at < expires_at then
    redis.call('PEXPIREAT', index, expires_at)
  end
end
