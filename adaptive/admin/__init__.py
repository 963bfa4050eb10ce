"""The admin API: what operators and their tools ask of a running gateway, on a port of its own.

control  what the API needs of the gateway, as a protocol
guards   who may ask: the token, the Host and Origin headers
views    the answers
server   the application and its socket
table    the state of the clusters as text
"""
