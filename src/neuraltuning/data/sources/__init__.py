"""Published data sets as their makers' files have them: one module a format, each giving `Split`s of samples."""
