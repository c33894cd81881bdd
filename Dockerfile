# docker build -t fashion-search-engine .          the program, CPU torch and the bundled checkpoint
# docker run --rm fashion-search-engine --help
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY engine engine
COPY ingest ingest
COPY eval eval
COPY train train
COPY serve serve
RUN python -m venv /program && /program/bin/pip install --no-cache-dir --disable-pip-version-check \
    --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt '.[serve,parquet,heic]'

FROM python:3.11-slim
COPY --from=build /program /program
# /state is where an ingest remembers what it has seen: a volume of its own
RUN useradd --uid 10001 --no-create-home engine && install -d -o engine /state
USER 10001
ENV PATH=/program/bin:$PATH XDG_STATE_HOME=/state PYTHONUNBUFFERED=1
WORKDIR /state
EXPOSE 8000
ENTRYPOINT ["engine"]
CMD ["serve", "--host", "0.0.0.0"]
