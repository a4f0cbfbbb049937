"""The engines themselves, so that a failure of theirs is told apart from one of the gateway."""


def test_postgres_starts_in_a_folder_of_its_own(postgres):
    assert postgres.sql("SELECT 40 + 2") == "42"


def test_redis_starts_in_a_folder_of_its_own(redis):
    assert redis.call("SET", "a", "1") == "OK"


def test_a_replica_serves_what_a_provider_counts(fleet):
    provider = fleet.provider()
    replica = fleet.replica(fleet.config(provider))
    status, _ = replica.client().chat("hello")
    assert status == 200
    assert provider.counts() == {"requests": 1, "input": 8, "output": 12, "cached": 2, "reasoning": 4, "failed": 0}
