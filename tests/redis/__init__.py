"""RedisSession on real servers."""
