# The server, with Whisper base inside, on CPUs:
#
#     docker build --tag voicewire .
#     docker run --rm --read-only --tmpfs /tmp --publish 8765:8765 voicewire
#
# Where pip finds CUDA builds of torch first, they are several GB and work on CPUs too. To get a CPU build instead,
# say where such wheels are (PyTorch's installation page has the address):
#
#     docker build --tag voicewire --build-arg TORCH_OPTIONS='--index-url ...' .

FROM python:3.11-slim-bookworm AS build
ARG TORCH_OPTIONS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/voicewire
ENV PATH=/opt/voicewire/bin:$PATH
WORKDIR /source
COPY constraints.txt ./
# TORCH_OPTIONS is several words.
# hadolint ignore=SC2086
RUN pip install --constraint constraints.txt setuptools \
    && pip install --constraint constraints.txt ${TORCH_OPTIONS} torch \
    && sed '/^# ----/,$d' constraints.txt > server.txt \
    && pip install --no-deps --no-build-isolation --requirement server.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY asr asr
COPY codecs codecs
COPY streaming streaming
COPY client client
RUN pip install --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/cache/voicewire --create-home voicewire
COPY --from=build /opt/voicewire /opt/voicewire
ENV PATH=/opt/voicewire/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GOMP_SPINCOUNT=0 \
    VOICEWIRE_HOST=0.0.0.0 \
    VOICEWIRE_CACHE=/var/cache/voicewire
USER 10001
# Converted once, so that a start takes seconds; a volume here, or a file system that is read-only, changes nothing.
RUN python -c "from voicewire.asr.weights import load_checkpoint; load_checkpoint('base')"
VOLUME /var/cache/voicewire
EXPOSE 8765
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/readyz', timeout=4)"]
ENTRYPOINT ["voicewire"]
CMD ["serve"]
