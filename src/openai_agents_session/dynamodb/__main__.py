"""``python -m openai_agents_session.dynamodb TABLE``: delete pages that no session names."""

from __future__ import annotations

import argparse
import asyncio

from aiobotocore.session import get_session

from openai_agents_session.dynamodb._orphans import DEFAULT_AGE, remove_orphaned_pages


async def main() -> None:
    """Run ``remove_orphaned_pages`` with the credentials and the region of the environment."""
    parser = argparse.ArgumentParser(
        prog="python -m openai_agents_session.dynamodb",
        description="Delete the pages that no session names: what crashes may have left.",
    )
    parser.add_argument("table", help="the table's name")
    parser.add_argument("--dry-run", action="store_true", help="only count")
    parser.add_argument(
        "--older-than",
        type=int,
        default=DEFAULT_AGE,
        metavar="SECONDS",
        help="default: %(default)s",
    )
    parser.add_argument("--region", help="default: the environment's")
    parser.add_argument("--endpoint-url", help="default: AWS")
    options = parser.parse_args()
    async with get_session().create_client(
        "dynamodb", region_name=options.region, endpoint_url=options.endpoint_url
    ) as client:
        removed = await remove_orphaned_pages(
            client,
            options.table,
            older_than_seconds=options.older_than,
            dry_run=options.dry_run,
        )
    print(f"{removed} unused page(s) {'found' if options.dry_run else 'deleted'}")


if __name__ == "__main__":
    asyncio.run(main())
