"""The mix engine: aligns stems, processes each, blends and masters them. Streams; nothing holds a whole track."""
