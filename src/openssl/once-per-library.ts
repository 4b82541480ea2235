import type { OpenSSL } from './binding.ts'

/** Makes something once for each OpenSSL, such as the callbacks that it calls, which are never freed. */
export function oncePerLibrary<T>(make: (openssl: OpenSSL) => T): (openssl: OpenSSL) => T {
  const made = new WeakMap<OpenSSL, T>()
  return (openssl) => {
    const known = made.get(openssl)
    if (known !== undefined) return known
    const fresh = make(openssl)
    made.set(openssl, fresh)
    return fresh
  }
}
