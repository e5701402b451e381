"""What DynamoDB's errors mean: whether a request was done, and whether to send it again.

The codes are those of the Amazon DynamoDB Developer Guide, "Error handling with DynamoDB", of
the API reference, "Common Errors", and of what botocore takes for throttling
(``botocore/retries/standard.py``). ``docs/errors.md`` says the same to users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_agents_session._errors import add_note

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

CONDITION = "ConditionalCheckFailedException"

REFUSED_FOR_NOW = frozenset(
    {
        # throttled
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        # somebody else is writing to the item
        "ReplicatedWriteConflictException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Nothing was done, and the same request may be done in a moment."""

UNKNOWN = frozenset({"RequestTimeout", "RequestTimeoutException"})
"""As a server error: nobody knows whether it was done."""

_SERVER_ERROR = 500


def code_of(error: ClientError) -> str:
    """Return the name that DynamoDB gives an error."""
    return error.response["Error"].get("Code", "")


def passes(error: ClientError) -> bool:
    """Whether the same request may be done in a moment."""
    response: dict[str, Any] = {**error.response}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code_of(error) in REFUSED_FOR_NOW | UNKNOWN or status >= _SERVER_ERROR


def was_resent(error: ClientError) -> bool:
    """Whether botocore has sent the request several times by itself."""
    response: dict[str, Any] = {**error.response}
    return response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0


def was_refused(error: ClientError) -> bool:
    """Whether it is certain that the request was not done."""
    return code_of(error) in REFUSED_FOR_NOW and not was_resent(error)


def explain(error: ClientError, table: str) -> None:
    """Add to an error what is most likely wrong."""
    code = code_of(error)
    if code == "ResourceNotFoundException":
        add_note(
            error,
            f"Is there a table {table!r} in this region? "
            "openai_agents_session.dynamodb.create_table_if_not_exists makes one.",
        )
    elif code == "InvalidSignatureException":
        add_note(
            error,
            "Is the secret key right, and the clock of this machine? AWS takes only requests "
            "that were signed within five minutes of its own time.",
        )
