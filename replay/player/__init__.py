"""Live replay, the part that knows no clock and no socket: which recorded requests are sent and when (`plan`), as which
bytes (`message`), to which targets they may go (`target`), and what came back beside what was recorded (`verdict`).
"""
