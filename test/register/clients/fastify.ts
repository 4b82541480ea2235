import t from 'tap'
import { SEED } from '../../fixtures/random.ts'
import { testWeb } from '../../fixtures/web-programs.ts'

t.setTimeout(300_000)
t.comment(`SEED=${SEED}`)

testWeb(t, 'a route of Fastify, called by got,', 'fastify-server', 'got-client')
