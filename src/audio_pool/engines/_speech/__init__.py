"""The shared half of engines that speak: text into sentences, sentences into one sound."""
