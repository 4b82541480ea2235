import { execFile } from 'node:child_process'
import t from 'tap'
import type { Row } from '../../bench/compare.ts'
import { tooSlow } from '../../bench/guard.ts'
import { estimate } from '../../bench/stats.ts'

// Each run of the benchmark starts many processes.
t.setTimeout(300_000)

const row = (...each: number[]): Row => ({ name: 'send', words: {}, ratios: { ours: estimate(each) } })

t.test('only what is slower with all of its interval is too slow', async (t) => {
  t.strictSame(tooSlow([row(0.5, 0.5, 0.5, 0.5, 0.5, 0.85)], 'ours', 0.85), [])
  t.strictSame(tooSlow([row(1, 1, 1, 1, 1, 1), row(0.5, 0.6, 0.6, 0.6, 0.6, 0.84)], 'ours', 0.85), [
    'send: 0.60 of the plain socket, at most 0.84, must be 0.85',
  ])
})

t.test('one slow process out of nine, or one fast one, does not decide', async (t) => {
  t.strictSame(tooSlow([row(0.1, 1, 1, 1, 1, 1, 1, 1, 1)], 'ours', 0.85), [])
  t.equal(tooSlow([row(3, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7)], 'ours', 0.85).length, 1)
})

t.test('without an interval the guard does not pass', async (t) => {
  const message = /5 generations are too few for an interval: it takes 6/
  t.throws(() => tooSlow([row(1, 1, 1, 1, 1)], 'ours', 0.85), message)
})

/** The benchmark itself, with a contender that sleeps, and with few bytes. */
const guard = (...args: string[]) =>
  new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) => {
    execFile(process.execPath, ['build/bench/main.js', '--guard', ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : error.code, stdout, stderr })
    })
  })
const slow = ['--contender=slow', '--generations=6', '--share=0.001']

t.test('a contender that is slow on purpose makes the exit code 1', async (t) => {
  const { code, stdout } = await guard('0.85', ...slow)
  t.equal(code, 1)
  t.match(stdout, /TOO SLOW\nsend, geometric mean: .*\nread, geometric mean: .* must be 0\.85\n/)
})

t.test('the same contender passes where it is allowed to be that slow', async (t) => {
  const { code, stdout } = await guard('0.0001', ...slow)
  t.equal(code, 0)
  t.match(stdout, /Neither is clearly below 0\.0001/)
})

t.test('a wrong argument is an error, not a pass', async (t) => {
  t.match(await guard('fast'), { code: 1, stderr: /--guard must be a number above 0, not 'fast'/ })
  t.match(await guard('1', '--generations=6.5'), { code: 1, stderr: /--generations must be a whole number, not '6.5'/ })
  t.match(await guard('1', '--contender=nobody'), { code: 1, stderr: /There is no contender 'nobody'/ })
})
