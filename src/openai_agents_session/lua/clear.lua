-- Deletes the session. Where there is none, nothing changes and no token is needed.
if redis.call('EXISTS', token) == 0 and redis.call('UNLINK', list) == 1 then
  remember('')
end
return 1
