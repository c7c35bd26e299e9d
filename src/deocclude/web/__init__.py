"""The page and the HTTP API over one method: `app.create_app` puts them together, `deocclude serve` runs it."""
