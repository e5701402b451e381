"""DynamoDBSession on three emulators, over HTTP."""
