// Exports what the cache does through OpenTelemetry: spans for what it answers, which the instrumentation of
// undici cannot see, as nothing is sent; a histogram of durations; and the statistics of the cache.
// With a URL: requests that. Without: a server on this machine. Prints what would be exported.

import { subscribe } from 'node:diagnostics_channel'
import { context, metrics, SpanKind, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { type HttpCache, install, type LookupEvent } from 'caching-agent'
import { startServer } from './origin/server.ts'

// In a program: exporters for a collector.
const spans = new InMemorySpanExporter()
const points = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
const spanProcessors = [new SimpleSpanProcessor({ exporter: spans })]
const readers = [new PeriodicExportingMetricReader({ exporter: points })]
const meterProvider = new MeterProvider({ readers })
context.setGlobalContextManager(new AsyncLocalStorageContextManager())
trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors }))
metrics.setGlobalMeterProvider(meterProvider)

/** Spans and durations, of all caches of the process: the channel tells at once, in the context of the caller. */
function traceLookups(): void {
  const tracer = trace.getTracer('caching-agent')
  const durations = metrics.getMeter('caching-agent').createHistogram('http.cache.duration', {
    unit: 's',
    advice: { explicitBucketBoundaries: [0.0001, 0.001, 0.01, 0.1, 1, 10] },
  })
  subscribe('caching-agent:lookup', (message) => {
    const { method, url, status, outcome, reason, ...lookup } = message as LookupEvent
    durations.record(lookup.duration / 1000, { 'http.cache.outcome': outcome })
    // What went out has a span of its own, by the instrumentation of undici.
    if (lookup.forward !== undefined) return
    const end = performance.timeOrigin + performance.now()
    const attributes = {
      'http.request.method': method,
      'url.full': url,
      'http.cache.hit': lookup.fromCache,
      'http.cache.outcome': outcome,
      ...(reason && { 'http.cache.reason': reason }),
      ...(status && { 'http.response.status_code': status }),
      ...(lookup.age !== undefined && { 'http.cache.age': lookup.age / 1000 }),
    }
    const startTime = end - lookup.duration
    tracer.startSpan(method, { kind: SpanKind.CLIENT, startTime, attributes }).end(end)
  })
}

/** The counters of a cache, read whenever metrics are collected. */
function meter(cache: HttpCache): void {
  const meter = metrics.getMeter('caching-agent')
  const requests = meter.createObservableCounter('http.cache.requests')
  const bytes = meter.createObservableCounter('http.cache.bytes', { unit: 'By' })
  const timeSaved = meter.createObservableCounter('http.cache.time_saved', { unit: 's' })
  meter.addBatchObservableCallback(
    (result) => {
      for (const [origin, counted] of Object.entries(cache.stats().origins)) {
        const attributes = { 'http.cache.origin': origin }
        for (const [outcome, count] of Object.entries(counted.outcomes)) {
          result.observe(requests, count, { ...attributes, 'http.cache.outcome': outcome })
        }
        const { bytesFromCache, bytesFromOrigin } = counted
        result.observe(bytes, bytesFromCache, { ...attributes, 'http.cache.hit': true })
        result.observe(bytes, bytesFromOrigin, { ...attributes, 'http.cache.hit': false })
        result.observe(timeSaved, counted.timeSaved / 1000, attributes)
      }
    },
    [requests, bytes, timeSaved],
  )
}

const origin = await startServer((_, response) => {
  const answer = () =>
    response.setHeader('Cache-Control', 'max-age=60').end('The same for everybody')
  setTimeout(answer, 50)
})
const url = process.argv[2] ?? `${origin.url}/report`
const { cache, uninstall } = install({ store: 'memory:', expireAfter: '1h' })
traceLookups()
meter(cache)

await trace.getTracer('program').startActiveSpan('report', async (span) => {
  for (let request = 0; request < 5; request += 1) await (await fetch(url)).text()
  span.end()
})

await meterProvider.forceFlush()
const report = spans.getFinishedSpans().find(({ name }) => name === 'report')
for (const { name, attributes, parentSpanContext, duration } of spans.getFinishedSpans()) {
  const isOfReport = parentSpanContext?.spanId === report?.spanContext().spanId
  const milliseconds = duration[0] * 1000 + duration[1] / 1e6
  console.log(
    `Span ${isOfReport ? 'report > ' : ''}${name} ${milliseconds.toFixed(1)} ms`,
    attributes,
  )
}
for (const { descriptor, dataPoints } of points.getMetrics().at(-1)?.scopeMetrics[0]?.metrics ??
  []) {
  for (const { attributes, value } of dataPoints) {
    const number = typeof value === 'number' ? value : value.count
    if (number) console.log(`Metric ${descriptor.name} ${number}${descriptor.unit}`, attributes)
  }
}
await meterProvider.shutdown()
await uninstall()
await origin.close()
