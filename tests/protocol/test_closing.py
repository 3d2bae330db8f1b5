import asyncio

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from xyt_stream.protocol.closing import close


async def test_close_does_not_wait_for_unread_messages():
    """Both ends have sent far more than the other one's queue holds, and read nothing."""
    closed = asyncio.Event()

    async def handle(websocket):
        for _ in range(100):
            await websocket.send("unread")
        await close(websocket, 4321, "enough")
        closed.set()

    async with serve(handle, "127.0.0.1", 0, close_timeout=3600) as server:
        port = server.sockets[0].getsockname()[1]
        websocket = await connect(f"ws://127.0.0.1:{port}", close_timeout=3600)
        for _ in range(100):
            await websocket.send("unread")
        await asyncio.wait_for(close(websocket), 120)
        await asyncio.wait_for(closed.wait(), 120)


async def test_close_works_while_another_task_reads():
    async def handle(websocket):
        async for message in websocket:
            await websocket.send(message)

    async with serve(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        websocket = await connect(f"ws://127.0.0.1:{port}")
        reading = asyncio.create_task(anext(aiter(websocket), None))
        await asyncio.sleep(0)
        await asyncio.wait_for(close(websocket), 120)
        assert await reading is None
