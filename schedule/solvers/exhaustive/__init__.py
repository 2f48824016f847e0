"""The exhaustive search of small graphs: masks → what has to be live anyway → states."""
