# The gate as a container: docker build --tag ifmatch . && docker run -p 8412:8412 -e IFMATCH_UPSTREAM=http://api:3000 ifmatch
FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY scripts ./scripts
COPY config ./config
COPY src ./src
RUN npm run build

FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM node:24-slim
ARG VERSION=dev
LABEL org.opencontainers.image.title="ifmatch" \
      org.opencontainers.image.description="A reverse proxy that gives an HTTP API optimistic concurrency control without changing it." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.vendor="The ifmatch authors" \
      org.opencontainers.image.version="${VERSION}"
WORKDIR /app
COPY package.json LICENSE ./
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# In a container loopback is nobody's: both addresses are for all interfaces. That holds for the admin address too, which
# kubelet's probes and Prometheus reach by the Pod's address: it has /healthz, /readyz and /metrics, for anyone (O1).
ENV NODE_ENV=production \
    IFMATCH_LISTEN=0.0.0.0:8412 \
    IFMATCH_ADMIN=0.0.0.0:9412
USER node
EXPOSE 8412 9412
# SIGTERM drains: give `docker stop` more than limits.drainDelay and limits.drain together (5 s and 25 s), its own 10 s cut it short.
STOPSIGNAL SIGTERM
# Asks the address that IFMATCH_ADMIN names: set that, rather than --admin, to move it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["node", "/app/dist/main.js", "health"]
ENTRYPOINT ["node", "/app/dist/main.js"]
