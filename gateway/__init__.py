"""The asyncio shell: the only room that waits for sockets, people and disks."""
