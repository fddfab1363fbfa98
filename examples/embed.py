import gzip

from comfy_fsm import Board, Deliver, Entry, read

board = Board()
with gzip.open("fixtures/recordings/0.3.64/socket-drop.jsonl.gz") as trace:  # live: the lines that your log committed
    for position, line in enumerate(trace, start=1):
        board.fold(Entry(position, read(line)))
        for effect in board.drain():  # what is wanted of the world now: to ask, to reconnect, to deliver
            print(position, effect.result.state if isinstance(effect, Deliver) else type(effect).__name__)
board.finish()  # a recording ends; a live client never says so
print(*(f"{task.prompt_id} {task.state}, {task.confidence} by {task.confirmed_by}" for task in board.tasks), sep="\n")
