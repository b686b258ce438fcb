/** Tags and texts of HTML and XML, as they arrive: the only import of htmlparser2. */
export { type Handler, Parser } from 'htmlparser2'
