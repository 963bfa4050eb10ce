"""Importers, which make traces of other systems' logs: base (what each must do, and the parts that they share), nginx,
envoy, haproxy, apache, goreplay, har, prometheus, rates (counts), table (CSV by a mapping of columns), datasets (public
recordings), collecting (attempts to a trace), formats (all of them by name), importing (files to a trace, bad lines
kept aside).
"""
