/**
 * The result of the first function that does not throw.
 *
 * @throws an AggregateError if all throw. Its message has the name and the message of each.
 */
export function firstWorking<T>(candidates: readonly (readonly [name: string, run: () => T])[]): T {
  const failures: Error[] = []
  for (const [name, run] of candidates) {
    try {
      return run()
    } catch (error) {
      // What follows the first line is where require() has searched.
      const reason = (error as Error).message.replace(/\.?(\n.*)?$/s, '')
      failures.push(new Error(`${name}: ${reason}`, { cause: error }))
    }
  }
  throw new AggregateError(failures, failures.map(({ message }) => message).join('; '))
}
