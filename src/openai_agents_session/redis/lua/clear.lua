-- Deletes the session. Where there is none, nothing changes and no token is needed.
-- ARGV: seconds the token is kept.
local list, token, token_seconds = KEYS[1], KEYS[2], ARGV[1]
if redis.call('EXISTS', token) == 0 and redis.call('LLEN', list) > 0 then
  -- As in append.lua. A full server lets a script go on that has called what frees.
  redis.call('UNLINK', token)
  redis.call('SET', token, '', 'EX', token_seconds)
  redis.call('UNLINK', list)
end
return 1
