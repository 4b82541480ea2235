import { testStackTLS13 } from '../../fixtures/stack-tests-tls13.ts'

testStackTLS13('openssl')
