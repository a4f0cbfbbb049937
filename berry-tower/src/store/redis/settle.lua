-- Replaces units that were taken by those that were used. For each key there are seven arguments: the
-- kind, the limit, the period in microseconds, the position, the units taken and used, and the slot.
for i, key in ipairs(KEYS) do
  local b = (i - 1) * 7
  local kind, limit, period = ARGV[b + 1], tonumber(ARGV[b + 2]), tonumber(ARGV[b + 3])
  local position, reserved, used = tonumber(ARGV[b + 4]), tonumber(ARGV[b + 5]), tonumber(ARGV[b + 6])
  local back, more = math.max(0, reserved - used), math.max(0, used - reserved)
  if kind == 'r' then
    local taken, refilled, at = rolling(key, limit, period)
    if position > taken then
      back = 0
    else
      back = math.min(back, math.max(0, position - refilled))
    end
    if back + more > 0 then
      write_rolling(key, taken + more, refilled + back, at, period)
    end
  elseif kind == 's' then
    if back > 0 then redis.call('ZREM', key, ARGV[b + 7]) end
  else
    local number, sum = calendar(key, kind)
    if number == position and back + more > 0 then
      write_calendar(key, kind, number, math.max(0, sum - back) + more)
    end
  end
end
return 1
