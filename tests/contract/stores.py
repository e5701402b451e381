"""The contract of a store of many conversations, as a pytest base class.

Derive a ``Test…`` class from :class:`StoreContract` and fill in the hooks (``store_base.py``): the
inherited tests prove that each user's conversations are listed, changed, copied and deleted as
they are, apart from everybody else's. Every test also proves at its end that what is listed and
what is there agree, and that another user's conversation was left alone.

Needs ``pytest-asyncio`` in its auto mode, and ``hypothesis``.
"""

from __future__ import annotations

from tests.contract.store_base import StoreBase
from tests.contract.store_beginning import BeginningContract
from tests.contract.store_changing import ChangingContract
from tests.contract.store_erasing import ErasingContract
from tests.contract.store_expiry import StoreExpiryContract
from tests.contract.store_forking import ForkingContract
from tests.contract.store_leases import LeasesContract
from tests.contract.store_listing import ListingContract
from tests.contract.store_messages import MessagesContract
from tests.contract.store_together import TogetherContract
from tests.contract.store_users import UsersContract

__all__ = ["StoreBase", "StoreContract"]


class StoreContract(
    BeginningContract,
    ListingContract,
    ChangingContract,
    ForkingContract,
    StoreExpiryContract,
    UsersContract,
    ErasingContract,
    MessagesContract,
    TogetherContract,
    LeasesContract,
):
    """What every store has to do, one test for each promise."""
