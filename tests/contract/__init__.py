"""The contract of a session store, as a pytest base class.

Derive a ``Test…`` class from :class:`SessionContract`, say in its class attributes what
the store can do, and fill in the hooks (``base.py``): the inherited tests, a module for
each promise, then prove that the store keeps conversations whole, in order, apart from each
other and no longer than asked. Tests of an ability that is switched off are not collected.
Every test also proves that a neighbouring conversation in the same store was left alone.

Needs ``pytest-asyncio`` in its auto mode; has no other demands on the surroundings.
"""

from __future__ import annotations

from tests.contract.arguments import ArgumentsContract
from tests.contract.base import AnySession
from tests.contract.cancelling import CancellingContract
from tests.contract.expiry import ExpiryContract
from tests.contract.leasing import LeasingContract
from tests.contract.limits import LimitContract
from tests.contract.lossless import LosslessContract
from tests.contract.replacing import ReplacingContract
from tests.contract.unreadable import UnreadableContract
from tests.contract.values import HOSTILE_IDS, SECRET, numbered, user
from tests.contract.writing import WritingContract

__all__ = ["HOSTILE_IDS", "SECRET", "SHARE", "AnySession", "SessionContract", "numbered", "user"]

# For another store of a kind that was asked everything: what may still differ there.
SHARE = (
    "test_batches_of_concurrent_writers_stay_whole",
    "test_settings_give_the_default_limit",
    "test_concurrent_pops_share_the_items",
    "test_clear_removes_everything",
    "test_replace_is_one_step",
    "test_replace_beside_appends",
    "test_many_unreadable_records_hide_nothing",
    "test_snapshot_replaces_its_end",
    "test_snapshot_of_the_past_replaces_nothing",
    "test_every_write_slides_the_ttl",
    "test_expired_is_gone",
    "test_no_ttl_removes_none",
    "test_cancelled_append_is_all_or_nothing",
    "test_write_under_way_is_done_before_the_event_loop_ends",
    "test_hostile_ids_are_conversations_of_their_own",
    "test_compaction_session_on_top",
    "test_a_lease_has_one_holder_at_a_time",
    "test_waiters_are_served_in_the_order_they_came",
    "test_no_write_of_a_lost_lease_arrives",
)


class SessionContract(
    LosslessContract,
    WritingContract,
    LimitContract,
    ExpiryContract,
    ReplacingContract,
    UnreadableContract,
    CancellingContract,
    ArgumentsContract,
    LeasingContract,
):
    """What every session store has to do, one test for each promise.

    Fill in ``make_session`` and, for the abilities that are left on, the other hooks.
    Override the fixture ``store`` to prepare what the hooks need, before every test.
    """
