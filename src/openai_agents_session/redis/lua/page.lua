-- Returns a page of a user's conversations, the last written to first: for each its id, and
-- what `describe` returns; the ids whose conversations seem to have expired; and, where others
-- may follow, the place of the last entry that was passed: its score and its id.
-- (Only seem to: while a cluster moves a slot, a key that is not in KEYS may be elsewhere.)
-- KEYS: the index.
-- ARGV: how many conversations; how many entries to look at; how many that have expired; '1'
--       for active ones, '0' for others, '' for both; and where the page before has ended, if
--       there was one, its place.
local index, limit, most, most_gone = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local active, score, id_before = ARGV[4], tonumber(ARGV[5]), ARGV[6]

-- Entries of one score are in descending order of their bytes. (What Lua's < says depends on
-- the server's locale.)
local function is_after(id)
  for at = 1, math.min(#id, #id_before) do
    local one, other = string.byte(id, at), string.byte(id_before, at)
    if one ~= other then
      return one < other
    end
  end
  return #id < #id_before
end

local rank = score and redis.call('ZCOUNT', index, '(' .. ARGV[5], '+inf') or 0
local found, gone, place, examined = {}, {}, {ARGV[5], ARGV[6]}, 0
while true do
  local entries = redis.call('ZREVRANGE', index, rank, rank + limit, 'WITHSCORES')
  for at = 1, #entries, 2 do
    local id = entries[at]
    if not score or tonumber(entries[at + 1]) ~= score or is_after(id) then
      if examined == most or #gone == most_gone then
        return {found, gone, place}
      end
      examined = examined + 1
      local about = index .. '~' .. id
      local said = redis.call('HMGET', about, 'created_at', 'is_active')
      if not said[1] then
        table.insert(gone, id)
      elseif active == '' or (active == '1') == (said[2] ~= '0') then
        if #found == limit then
          return {found, gone, place}
        end
        table.insert(found, {id, describe(index .. ':' .. id, about)})
      end
      place = {entries[at + 1], id}
    end
  end
  if #entries < 2 * (limit + 1) then
    return {found, gone}
  end
  rank = rank + limit + 1
end
