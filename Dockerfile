# maker with what HTTP models and PostgreSQL need: docs/install.md. For vLLM, compose.yaml starts its own server.
ARG PYTHON=3.13
FROM python:${PYTHON}-slim AS wheel
WORKDIR /src
RUN pip install --no-cache-dir 'build>=1.2'
COPY pyproject.toml README.md LICENSE ./
COPY maker maker
COPY decomposers decomposers
COPY voters voters
RUN python -m build --wheel --outdir /dist

FROM python:${PYTHON}-slim
ARG EXTRAS=plan,postgres
COPY --from=wheel /dist /dist
RUN pip install --no-cache-dir "$(echo /dist/*.whl)[${EXTRAS}]" \
    && useradd --create-home --uid 1000 maker \
    && install --directory --owner maker --group maker /work
# By its number, which a host knows too.
USER 1000
WORKDIR /work
ENTRYPOINT ["maker"]
CMD ["--help"]
