# The page and the HTTP API on a CPU, as a user without rights:
#   docker build --tag deocclude .
#   docker run --rm --publish 127.0.0.1:7860:7860 deocclude
# It prints the page's address; open it with 127.0.0.1 in the place of 0.0.0.0. Any other command works too:
#   docker run --rm --user "$(id -u)" --volume "$PWD:/work" --workdir /work deocclude run photo.jpg
FROM python:3.12-slim-bookworm

# pip prefers 2.x+cpu of this index to the same torch with gigabytes of CUDA.
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GRADIO_ANALYTICS_ENABLED=False

WORKDIR /opt/deocclude
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY src ./src
# The bounds of the versions are pyproject.toml's.
# hadolint ignore=DL3013
RUN pip install '.[page]' && useradd --create-home --uid 1000 deocclude

USER 1000
WORKDIR /home/deocclude
EXPOSE 7860
# Any answer will do, be it "401: show the token".
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import http.client; \
connection = http.client.HTTPConnection('127.0.0.1', 7860, timeout=5); \
connection.request('GET', '/api/health'); connection.getresponse()"]
ENTRYPOINT ["deocclude"]
CMD ["serve", "--host", "0.0.0.0", "--no-browser"]
