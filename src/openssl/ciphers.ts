import tls from 'node:tls'
import { wrongValue } from './argument.ts'

/**
 * Splits a list of ciphers as Node does. OpenSSL has one list for TLS 1.3, whose suites are named TLS_..., and another
 * one for all versions before.
 *
 * @param ciphers separated by colons. Empty, null or undefined: `tls.DEFAULT_CIPHERS`.
 * @throws TypeError with the code ERR_INVALID_ARG_VALUE if both lists are empty.
 */
export function splitCiphers(ciphers: string | null | undefined): { list: string; suites: string } {
  const names = (ciphers || tls.DEFAULT_CIPHERS).split(':')
  const suites = names.filter((name) => /^!?TLS_/.test(name)).join(':')
  const list = names.filter((name) => name !== '' && !/^!?TLS_/.test(name)).join(':')
  if (list === '' && suites === '') throw wrongValue('options.ciphers', names)
  return { list, suites }
}
