"""What is handed on: an adapter for other runtimes, a merged model, a repository of a hub."""
