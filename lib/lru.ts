/** Maps that forget what was used least recently: the only import of lru-cache. */
export { LRUCache } from 'lru-cache'
